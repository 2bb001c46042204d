"""Sending and fetching over HTTP, from either side of a copy.

    plan · address · refusals · shape       sans-IO: what an answer means and what to ask next
    local · body ──> transport              a source on its way out
    transport ──> part | outlet (target)    an answer on its way in
    upload · download                       the order of events

Each module is imported by name; nothing is re-exported here. Only `transport` knows the HTTP library.
"""
