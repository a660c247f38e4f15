"""The aggregator of Aligned: collects what operators sign, and has the chain judge one aggregate for each batch."""
