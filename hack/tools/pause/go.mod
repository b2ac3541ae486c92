module kerasjob/pause

go 1.26.0
