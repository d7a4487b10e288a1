"""An engine in a separate process: ``client`` runs in pytest, ``server`` runs beside the engine."""
