/* Which language is a text in?
 *
 * A stage is a program: one record on stdin, its result on stdout, settings as
 * --key=value arguments, exit code 0. It has no files, no network, no
 * environment and no real clock, and every record gets a fresh start of it.
 * This one counts how many words of the text are among the commonest of each
 * language. Replace `judge` by your own work, and say in guild.toml what comes
 * in and goes out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What guild.toml lists as labels; "und" is ISO 639 for undetermined. Each
 * word stands between two spaces, so that strstr finds whole words only. */
static const struct language {
    const char *code, *words;
} languages[] = {
    {"de", " der die das und ist nicht ein eine ich sie es mit von zu den auf "},
    {"en", " the of and to in is it that was for with not this are you on "},
    {"es", " el la los las de que y en un una es no con por para se "},
    {"fr", " le la les des de et est que un une ne pas dans pour qui il "},
};

enum {
    LANGUAGES = sizeof languages / sizeof languages[0],
    LONGEST = 16, /* bytes of a word that is looked up; no word above is longer */
};

/* Letters are A to Z and everything beyond ASCII. */
static int is_letter(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 128;
}

/* The next word of stdin in small letters between two spaces, or 0. Words that
 * are too long to be known come out empty. */
static int next_word(char word[LONGEST + 3])
{
    int c;
    do
        if ((c = getchar()) == EOF)
            return 0;
    while (!is_letter(c));
    size_t length = 0;
    word[0] = ' ';
    for (; c != EOF && is_letter(c); c = getchar())
        if (++length <= LONGEST)
            word[length] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    if (length > LONGEST)
        length = 0;
    strcpy(word + length + 1, " ");
    return 1;
}

/* Reads stdin and writes one prediction as JSON. */
static void judge(unsigned long long least)
{
    unsigned long long hits[LANGUAGES] = {0}, all = 0;
    char word[LONGEST + 3];
    while (next_word(word))
        for (int i = 0; i < LANGUAGES; i++)
            if (strstr(languages[i].words, word)) {
                hits[i]++;
                all++;
            }
    int best = 0;
    for (int i = 1; i < LANGUAGES; i++)
        if (hits[i] > hits[best])
            best = i;
    if (all == 0 || all < least) {
        printf("[{\"input\":0,\"value\":{\"class\":\"und\"}}]");
        return;
    }
    /* Thousandths in whole numbers: the same bytes on every machine. */
    unsigned long long share = (2000 * hits[best] + all) / (2 * all);
    printf("[{\"input\":0,\"value\":{\"class\":\"%s\"},\"confidence\":%llu.%03llu}]",
           languages[best].code, share / 1000, share % 1000);
}

int main(int argc, char **argv)
{
    unsigned long long least = 1; /* known words before it dares to answer */
    for (int i = 1; i < argc; i++) {
        char *end = argv[i];
        if (strncmp(argv[i], "--least=", 8) == 0)
            least = strtoull(argv[i] + 8, &end, 10);
        if (end == argv[i] || *end != '\0') {
            /* What goes to stderr is shown by `guild test --input`. */
            fprintf(stderr, "not a setting: %s; there is --least=NUMBER\n", argv[i]);
            return 2;
        }
    }
    judge(least);
    return ferror(stdin) || fflush(stdout) != 0;
}
