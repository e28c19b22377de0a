module github.com/rhaptos/sessiondb/systemtest/model

go 1.26
