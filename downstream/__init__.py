"""Judging data: networks trained with and without it, statistics, quality, reports."""
