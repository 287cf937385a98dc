module stage

go 1.21
