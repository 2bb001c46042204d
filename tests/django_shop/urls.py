"""Of the site, and its WSGI and ASGI applications."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from django_shop import views

router = SimpleRouter()
router.register("api/books", views.BookViews)
router.register("api/pictures", views.PictureViews)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include(router.urls)),
    path("api/raw/<str:filename>", views.raw),
    path("token", views.token),
    path("form/<str:kind>", views.form),
    path("change", views.change),
    path("rolled-back", views.rolled_back),
    path("formset", views.formset),
    path("inline", views.inline),
    path("look", views.look),
    path("looks", views.looks),
    path("plainly", views.plainly),
    path("ignored", views.ignored),
    path("limited", views.limited),
    path("state", views.state),
    path("empty", views.empty),
]
