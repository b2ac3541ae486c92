"""Programs without Python: a recipe's names are looked up in Keras's public namespaces and called with its arguments.

The whole of it is read first, which finds all faults and builds nothing; then the calls are made. Nothing of it is
evaluated, imported or deserialised: a name is one that Keras exports, an argument is plain data or such a name again.
`trainer/main.py` runs one (`running.run`); `python -m kerasjob_trainer.recipe` checks one for `kerasjob validate`.
"""
