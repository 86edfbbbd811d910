"""What lets the product run with no cloud account: a Google Cloud, a container and an engine, all on this machine.

Owns nothing but loopback sockets and a state folder; knows nothing of the program, its components or its stack files.
"""
