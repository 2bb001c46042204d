"""A Django site with what such sites have: forms, formsets, the admin, REST framework.

It runs as it is with Django's own storage and handlers, and with ours: by SHOP_SETTINGS, which
changes nothing but settings. SHOP_FOLDER has its database and its files.
"""
