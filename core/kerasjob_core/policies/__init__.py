"""One file per policy. Each takes the draft of a pass and adds to it; the order is `decide`'s."""
