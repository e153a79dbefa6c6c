"""Tests of the app-ready formats."""
