"""What every floor stands on: no HTTP framework, no table, nothing of the domain."""
