// Counts the words of its standard input, or, with `copy`, copies it and prints the
// number of bytes. Both allocate and free more memory than the program started with.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "copy" {
		all, err := io.ReadAll(os.Stdin)
		if err == nil {
			_, err = os.Stdout.Write(all)
		}
		fmt.Fprintln(os.Stderr, len(all), "bytes,", err)
		return
	}
	words := bufio.NewScanner(os.Stdin)
	words.Split(bufio.ScanWords)
	seen := map[string]int{}
	for words.Scan() {
		seen[words.Text()]++
	}
	fmt.Println(len(seen), "words")
}
