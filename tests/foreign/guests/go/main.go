// The program of every toolchain, in Go: see README.md.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "words":
		in := bufio.NewScanner(os.Stdin)
		in.Split(bufio.ScanWords)
		all, seen := 0, map[string]int{}
		for in.Scan() {
			all++
			seen[in.Text()]++
		}
		fmt.Println(all, "words,", len(seen), "different")
	case "lines":
		count, _ := strconv.Atoi(os.Args[2])
		for i := 0; i < count; i++ {
			fmt.Println("line", i)
		}
	case "prompt":
		fmt.Print("name? ")
		name, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		fmt.Print("hello ", name)
	case "given":
		for _, argument := range os.Args[2:] {
			fmt.Println("argument", argument)
		}
		fmt.Println("greeting", os.Getenv("GREETING"))
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	default:
		panic("no mode")
	}
}
