"""SQL on FHIR v2: ViewDefinitions compiled once, resources in batches, Arrow tables out."""

from sharing.views.columns import Column
from sharing.views.library import dictionary, library
from sharing.views.view import View, compile_view

__all__ = ["Column", "View", "compile_view", "dictionary", "library"]
