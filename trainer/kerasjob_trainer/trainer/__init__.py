"""The trainer: a fork of the warm process that runs the user's program. Strategy, repairs, session, program."""
