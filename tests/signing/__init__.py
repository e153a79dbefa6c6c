"""Tests of signing and of checking signatures."""
