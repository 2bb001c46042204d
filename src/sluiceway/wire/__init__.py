"""Bytes and their meaning: pure functions and small machines, without sockets, files, clocks,
randomness.

    read   forms/      a form body becomes parts: framing, part_headers, charsets,
           transfer_encodings names       a file's name becomes a key · urls, request_targets,
           host_patterns
    write  forms/      encoder: the same form, written · problems, event_stream: responses
    both   headers/    disposition, digests, conditions, ranges, media_types, http_dates
    below  numbers, sizes, headers/parameters: digits, and `; name="value"` lists

Each module is imported by name; nothing is re-exported here.
"""
