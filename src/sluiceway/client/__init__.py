"""Sending and fetching over HTTP, from either side of a copy.

    order · curl                            what somebody wants copied, checked; the same as a line for curl
    plan · address · refusals · shape       sans-IO: what an answer means and what to ask next
    local | remote · body ──> transport     a source on its way out: of this machine, or another server's answer
    outbound ──> transport                  the same, pushed instead of pulled
    transport ──> part | outlet (target)    an answer on its way in
    hops · guard · hosts                    redirects followed; addresses that may not be reached
    upload · download · fetch               the order of events

Each module is imported by name; nothing is re-exported here. Only `transport` and `aiohttp_…` know the HTTP library.
"""
