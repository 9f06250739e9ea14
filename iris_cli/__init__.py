"""IRIS: turn an edge-on observation of the Galaxy's centre into the view from above.

The program is one sentence, and each of its nouns is a file or a package of that name:

    standard dataset -> observer -> pair -> shard -> stream -> batch -> reverter -> loss -> checkpoint -> report
"""

__version__ = "0.1.0"
