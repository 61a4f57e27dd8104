"""Compiled passes over volumes."""
