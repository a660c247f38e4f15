"""An operator of Aligned: verifies each batch that the chain has, signs it, and brings it to the aggregator."""
