"""The main node's JSON-RPC, both ends: a client for any main node, and a server that makes a node one."""
