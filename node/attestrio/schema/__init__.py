"""The compiled messages of `proto/` and their canonical encoding. `make proto` writes every `*_pb2` file here."""
