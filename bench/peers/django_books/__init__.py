"""The app of `django_app`: one model with one file."""
