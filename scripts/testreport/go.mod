module github.com/leadbaton/baton/scripts/testreport

go 1.26
