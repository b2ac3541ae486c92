"""What a KerasJob is: typed spec and status, the CRD made from them, names, labels, exit codes, wire formats. No I/O.

Everything else imports this; it imports nothing of ours and nothing slow.
"""
