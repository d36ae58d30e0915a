"""Export a model, load it into this process, and find the nearest line of a text file.

python examples/python_api.py
"""

from pathlib import Path

from ovembed import ExportRequest, ModelRepository, export_model, open_embedder
from ovembed.vectors import top_k

repository = ModelRepository("models")
if "minilm" in repository.names():
    entry = repository.get("minilm")
else:
    request = ExportRequest("sentence-transformers/all-MiniLM-L6-v2", name="minilm", precision="int8")
    entry = export_model(request, repository, on_step=print)
print(f"{entry.name}: cosine to its source {entry.fidelity.mean:.4f}, fingerprint {entry.spec.fingerprint}")

lines = Path(__file__).with_name("texts.txt").read_text(encoding="utf-8").splitlines()

# The same call takes "http://127.0.0.1:8090" for a server.
with open_embedder(entry.folder) as embedder:
    texts = embedder.embed(lines)
    query = embedder.embed(["Where do I find my bill?"])

print(f"{len(texts.vectors)} texts, {texts.total_tokens} tokens, {texts.vectors.shape[1]} dimensions")
for position, cosine in zip(*top_k(query.vectors[0], texts.vectors, 3), strict=True):
    print(f"{cosine:.3f}  {lines[position]}")
