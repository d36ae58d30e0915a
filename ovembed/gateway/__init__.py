"""The embedding microservice of OPEA, in front of a server or with the engine in this process.

What clients match on: comps/embeddings/src and comps/cores/mega of https://github.com/opea-project/GenAIComps.
"""
