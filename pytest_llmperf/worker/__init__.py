"""An engine in a process of its own: ``client`` here in pytest, ``server`` there beside the engine."""
