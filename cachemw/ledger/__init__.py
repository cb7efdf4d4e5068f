"""The ledger: what every exchange took and cost, in a file beside the store; how it is written, and how it is read."""
