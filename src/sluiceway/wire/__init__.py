"""Bytes and their meaning: pure functions and small machines, no sockets, files, clocks or randomness.

    in    Content-Type ─ forms ─┬─ partheads ─ names      a form body becomes parts, a part's name becomes a key
                                └─ encodings              base64 and quoted-printable parts
    out   encoder                                         the same form, written
    both  disposition · digests · conditions · ranges     header fields, read and written
          eventstream · problems · types                  answers
    below numbers · parameters                            digits, and `; name="value"` lists

Each module is imported by name; nothing is re-exported here.
"""
