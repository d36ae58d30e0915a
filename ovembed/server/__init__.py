"""The local OpenVINO server: requests of all clients share batches."""
