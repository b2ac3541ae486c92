"""`kerasjob run`: a KerasJob on this machine. The operator's brain, with processes in the place of pods."""
