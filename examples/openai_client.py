"""Ask a running server through OpenAI's own client: pip install openai

python examples/openai_client.py http://127.0.0.1:8090/v1
"""

import sys

from openai import OpenAI

with OpenAI(base_url=sys.argv[1], api_key="none") as client:
    model = client.models.list().data[0].id
    reply = client.embeddings.create(model=model, input=["one text", "another text"], dimensions=128)

for item in reply.data:
    print(item.index, len(item.embedding), item.embedding[:3])
