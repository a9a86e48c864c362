"""Faults planted in stored nodes."""


class planted:
    """Change attributes of a stored node in the database for as long as the context lasts."""

    def __init__(self, node, **changes):
        self.model = node.backend_entity._model
        self.before = dict(self.model.attributes)
        self.changes = changes

    def __enter__(self):
        self._write({**self.before, **self.changes})

    def __exit__(self, *_):
        self._write(self.before)

    def _write(self, attributes):
        self.model.attributes = attributes
        self.model.save()
