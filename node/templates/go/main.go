// Which language is a text in?
//
// A stage is a program: one record on stdin, its result on stdout, settings as
// --key=value arguments, exit code 0. It has no files, no network, no
// environment and no real clock, and every record gets a fresh start of it.
// This one counts how many words of the text are among the commonest of each
// language. Replace judge by your own work, and say in guild.toml what comes in
// and goes out.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// What guild.toml lists as labels, with the commonest words. A fifth one, und,
// is ISO 639 for undetermined.
var languages = []struct {
	code  string
	words []string
}{
	{"de", strings.Fields("der die das und ist nicht ein eine ich sie es mit von zu den auf")},
	{"en", strings.Fields("the of and to in is it that was for with not this are you on")},
	{"es", strings.Fields("el la los las de que y en un una es no con por para se")},
	{"fr", strings.Fields("le la les des de et est que un une ne pas dans pour qui il")},
}

// Letters are A to Z and everything beyond ASCII.
func isLetter(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 128
}

// One prediction as JSON. Below least known words it does not dare to answer.
func judge(text []byte, least uint64) string {
	hits := make([]uint64, len(languages))
	all := uint64(0)
	for _, word := range bytes.FieldsFunc(text, func(c rune) bool { return !isLetter(c) }) {
		for i, language := range languages {
			if slices.Contains(language.words, strings.ToLower(string(word))) {
				hits[i]++
				all++
			}
		}
	}
	if all == 0 || all < least {
		return `[{"input":0,"value":{"class":"und"}}]`
	}
	most := slices.Max(hits)
	code := languages[slices.Index(hits, most)].code
	// Thousandths in whole numbers: the same bytes on every machine.
	share := (2000*most + all) / (2 * all)
	return fmt.Sprintf(`[{"input":0,"value":{"class":"%s"},"confidence":%d.%03d}]`,
		code, share/1000, share%1000)
}

func main() {
	least := uint64(1)
	for _, setting := range os.Args[1:] {
		number, err := strconv.ParseUint(strings.TrimPrefix(setting, "--least="), 10, 64)
		if err != nil || !strings.HasPrefix(setting, "--least=") {
			// What goes to stderr is shown by `guild test --input`.
			fmt.Fprintf(os.Stderr, "not a setting: %s; there is --least=NUMBER\n", setting)
			os.Exit(2)
		}
		least = number
	}
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		_, err = os.Stdout.WriteString(judge(text, least))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
