"""The report: any folders of didgen as one self-contained HTML page."""
