"""What was: a history of the control keyspace beside the store, for a store forgets what it need not know any more.

Each instance keeps one of its own, in a directory of its own, of what it was told by the store (`recorder`). It is a
copy of what was durable elsewhere: it decides nothing, nobody waits for it, and when it cannot be written the instance
goes on without. What is missing in it is a *gap*, and told as one; nothing is ever filled in.

A directory holds segments, ``<number>.history``, oldest first. Each line of one is ``<crc32 in hex> <JSON>``:

=================================  =================================================================================
``{"format", "v", "cluster", …}``  the first: what it is of, and whether it goes on from the segment before (`Header`)
``{"s": [[key, value, c, m], …]}``  what stood at the header's revision, in pieces; ``c`` created it and ``m`` wrote it
``{"whole": n}``                   so many were they; a segment without this line is none
``{"r", "t", "c": [[key, value,    a revision, when it was seen, and all that it changed; no value: deleted. ``l``: it
c], …], "l"}``                     was told later than it was seen to be over. Without ``c``: nothing more until then
``{"end": r, "t"}``                the last, of a segment that another one goes on from
=================================  =================================================================================

A value is a record's text as a JSON string, or ``{"base64": …}`` when it is none. Revisions rise within a segment.
What follows the last good line of the last segment is cut off when the directory is opened: the store is asked for it.
"""
