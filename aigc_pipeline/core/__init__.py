"""Words every other room uses: records, tables, store, seeds, errors, reporting. Knows neither torch nor Prefect."""
