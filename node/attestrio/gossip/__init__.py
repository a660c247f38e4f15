"""The gossip network: machines that cut and make its bytes, and thin shells that move them."""
