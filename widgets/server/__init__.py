"""The server of the dashboards: application, processes, files of visitors, login, who may ask."""
