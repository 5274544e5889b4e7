"""An app of the tests alone, whose `flush` Django runs after each test that commits."""
