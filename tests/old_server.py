"""What an OVMS computes, by the packages of its release. Run by their Python, on its own: nothing of ours is here.

    python old_server.py FOLDER < batches.json > vectors.json

The texts come as lists of batches, which are run one by one. The calculators are followed step by step where a model
could go wrong in them: the classic one gives the encoder an output tensor of (batch, tokens, dimensions), the other one
tokenizes with GenAI.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import openvino as ov  # noqa: TID253  (there is nothing else in here)

# The arithmetic of our engine, so that only the model is compared. By default it is that of the processor.
ARITHMETIC = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"}


def classic(folder, batches):
    import openvino_tokenizers  # noqa: F401  (its import registers the operations)

    core = ov.Core()
    tokenizer = core.compile_model(folder / "tokenizer/1/model.xml", "CPU")
    model = core.read_model(folder / "embeddings/1/model.xml")
    limit = model.get_rt_info(["model_info", "max_position_embeddings"]).astype(int)
    assert model.get_rt_info(["model_info", "pad_token_id"]).astype(int) >= 0
    encoder = core.compile_model(model, "CPU", ARITHMETIC)
    output = next(port for port in encoder.outputs if port.partial_shape.rank.get_length() == 3)
    for texts in batches:
        outputs = tokenizer([np.array(texts)])
        tokens = {port.any_name: np.ascontiguousarray(values) for port, values in outputs.items()}
        check_length(tokens["input_ids"], limit)
        request = encoder.create_infer_request()
        for port in encoder.inputs:
            request.set_tensor(port, ov.Tensor(tokens[port.any_name]))
        shape = [*tokens["input_ids"].shape, output.partial_shape[2].get_length()]
        hidden = ov.Tensor(output.element_type, ov.Shape(shape))
        request.set_tensor(output, hidden)
        request.infer()
        yield hidden.data[:, 0].copy()


def newer(folder, batches, pooling):
    from openvino_genai import Tokenizer

    tokenizer = Tokenizer(str(folder))
    limit = json.loads((folder / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    encoder = ov.Core().compile_model(folder / "openvino_model.xml", "CPU", ARITHMETIC)
    assert len(encoder.outputs) in {1, 2}
    for texts in batches:
        tokens = tokenizer.encode(texts)
        feed = {"input_ids": tokens.input_ids.data, "attention_mask": tokens.attention_mask.data}
        check_length(feed["input_ids"], limit)
        if len(encoder.inputs) == 3:
            feed["token_type_ids"] = np.zeros_like(feed["input_ids"])
        yield pool(encoder(feed)[0], feed["attention_mask"], pooling)


def check_length(ids, limit):
    if ids.shape[1] > limit:
        raise SystemExit(f"Input length {ids.shape[1]} longer than allowed {limit}")


def pool(hidden, mask, pooling):
    if pooling == "LAST":
        return hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]
    if pooling == "MEAN":
        weights = mask[:, :, None].astype(np.float32)
        return (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return hidden[:, 0]


def main():
    folder = Path(sys.argv[1])
    graph = (folder / "graph.pbtxt").read_text(encoding="utf-8")
    batches = json.load(sys.stdin)
    if "EmbeddingsCalculatorOV" in graph:
        stated = re.search(r"pooling: (\w+)", graph)
        rows = newer(folder, batches, stated and stated[1])
    else:
        rows = classic(folder, batches)
    vectors = np.concatenate(list(rows))
    if "normalize_embeddings: true" in graph:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    json.dump(vectors.tolist(), sys.stdout)


if __name__ == "__main__":
    main()
