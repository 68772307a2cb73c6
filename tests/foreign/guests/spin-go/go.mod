module skiff.test/spin-go

go 1.20

require github.com/fermyon/spin/sdk/go/v2 v2.2.0
