module github.com/leadbaton/baton/scripts/mutate

go 1.26
