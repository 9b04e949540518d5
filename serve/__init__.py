"""HTTP for programs: pictures, videos and streams in, people out, on an ASGI framework (`posert[serve]`).

Asks the runtime for people. Knows nothing of systems, and writes nothing of a request to a disk unless it is asked to.
"""
