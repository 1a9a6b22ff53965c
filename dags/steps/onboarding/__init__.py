"""How a source is onboarded: looked at, previewed, profiled, certified, enabled; without a scheduler."""
