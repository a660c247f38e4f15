"""Go `net/rpc` over HTTP CONNECT with `encoding/gob`, both ends. What it looks like on the wire is in `gob`."""
