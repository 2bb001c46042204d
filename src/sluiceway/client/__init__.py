"""Sending and downloading over HTTP, for both sides of a copy.

    upload · download · remote_source      the order of events: one file out, in, or passing through
    guarded_fetch                          the same for a client of the server, which names the URL
    source_body · file_request             a source as a request's body; PUT or form around it
    download_plan · retry                  pure: the next step after a response; whether to repeat

    http/    transport                     connections and responses, on aiohttp (aiohttp_…)
             request                       the one way to send a body: pushed
             redirects                     the one way to follow hops, with cookies and digest_auth
             exchange · error_responses    what a response is; a refusal as an error
             address_guard · proxies · tls · socket_progress
    local/   files, pipes, commands and folders of this machine; part files of downloads
    bodies/  Form and Sized: bodies for other HTTP libraries

Each module is imported by name; nothing is exported here. Knows nothing of stores and servers.
"""
