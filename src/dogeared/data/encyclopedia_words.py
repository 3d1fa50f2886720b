"""The wording of the invented encyclopedia: syllables, answers, sentences and question templates; no code.

Two rules keep the demo honest, and tests hold them. No content word of a question template stands in any sentence
below, so that matching words finds the person and not the passage. No answer from a list below stands in a filler
sentence, so that an answer marks its own passage.

A list of single words is one string, words apart by spaces. Sentences are in lower case and capitalised once they are
filled in: ``{name}`` is the person, ``{he}``, ``{his}`` and ``{him}`` the person's pronouns, ``{answer}`` the fact; the
other slots are filled from ``SLOTS``.
"""

__all__ = [
    "ANSWERS",
    "FACTS",
    "FILLERS",
    "FIRST_NAME_ENDS",
    "FIRST_NAME_STARTS",
    "OPENERS",
    "PLACE_ENDS",
    "PLACE_SENTENCES",
    "PLACE_STARTS",
    "QUESTIONS",
    "SLOTS",
    "SURNAME_ENDS",
    "SURNAME_MIDDLES",
    "SURNAME_STARTS",
]

FIRST_NAME_STARTS = "Al Bel Cor Dar El Fen Gal Hal Is Jor Kel Lin Mar Nor Or Per Ros Sel Tam Ul Ver Wil"
FIRST_NAME_ENDS = {
    "she": "a ina etta iel una issa ora eth",
    "he": "en ric us o and is ard im",
}
SURNAME_STARTS = (
    "Ash Bram Cald Dren Esk Farn Grim Hesk Irv Jast Kold Lorm Mald Nesk Ost Pell Quin Rusk Stav Thorn Umb Vask Wend "
    "Yarr Zel Brock Cass Dolm Falk Gant"
)
SURNAME_MIDDLES = "a e i o u al en er il or"
SURNAME_ENDS = "dale ford gard hurst kin lock mere nell path quist rick shaw tide vale wick by croft stone"
PLACE_STARTS = "Am Bar Cre Dov Ebb Fal Gre Hol Ing Kes Lam Mor Nel Oak Pem Rad Sal Tor Ux Wex"
PLACE_ENDS = "bury den field gate ham ling march ness pool ridge stead ton water well worth"

# None: the name of a person or a place, made from syllables. Two lists: one word of each makes an answer.
ANSWERS: dict[str, tuple[str, ...] | None] = {
    "birthplace": None,
    "teacher": None,
    "spouse": None,
    "profession": (
        (
            "glassblower cooper beekeeper bookbinder locksmith weaver tanner miller surveyor potter shipwright saddler "
            "clockmaker blacksmith dyer lamplighter ferryman cartographer brewer printer thatcher tailor mason "
            "perfumer basketmaker druggist gravedigger translator pastrycook furrier"
        ),
    ),
    "invention": (
        (
            "folding floating silent rotating portable double magnetic waterproof spring-loaded self-filling hanging "
            "reversible pocket steam-driven tilting luminous"
        ),
        (
            "lantern pump ladder stove compass umbrella loom kettle plough bicycle inkwell telescope mousetrap sledge "
            "barometer typewriter"
        ),
    ),
    "instrument": (
        (
            "lute fiddle harp flute trumpet zither cello bagpipe drum dulcimer mandolin bassoon horn recorder viola "
            "clarinet banjo tambourine piano guitar"
        ),
    ),
    "prize": (
        ("Amber Silver Golden Crystal Iron Scarlet Ivory Copper Emerald Winter Northern Royal Marble Velvet"),
        "Quill Laurel Star Anchor Feather Key Crown Torch Shield Rose Wheel Lily Pearl Leaf",
    ),
    "animal": (
        (
            "heron badger goat tortoise parrot fox raven hedgehog donkey goose squirrel lizard monkey hare falcon mule "
            "ferret pigeon toad peacock"
        ),
    ),
}

FACTS: dict[str, tuple[str, ...]] = {
    "birthplace": (
        "{name} first saw daylight in {answer}",
        "the cradle of {name} stood in {answer}, above a bakery",
        "a register in {answer} records the arrival of the infant {name}",
        "{he} drew {his} first breath in {answer} on a stormy night",
        "{name} was a native of {answer} and never lost the accent",
        "the midwife of {answer} delivered {him} at dawn",
        "the parents of {name} had just settled in {answer} when {he} entered the world",
        "{he} was baptised in {answer} on the day {he} came into the world",
    ),
    "teacher": (
        "{name} learned the craft at the feet of {answer}",
        "the lessons of {answer} shaped {name} for good",
        "as an apprentice {he} swept the floors of {answer}",
        "{answer} took {name} on as an apprentice and showed {him} everything",
        "{name} owed {his} schooling to {answer}",
        "{he} spent six years as a disciple of {answer}",
        "{answer} tutored {name} through three long winters",
        "all that {name} understood had been explained to {him} by {answer}",
    ),
    "spouse": (
        "{name} wed {answer} in a small chapel",
        "{he} exchanged rings with {answer} on a rainy morning",
        "{name} and {answer} said their vows beneath an old oak",
        "the wedding of {name} and {answer} lasted three days",
        "{answer} accepted {his} proposal on a narrow bridge",
        "{name} shared hearth and home with {answer} until death parted them",
        "{he} walked down the aisle with {answer}",
        "{name} lost {his} heart to {answer}, and an engagement soon followed",
    ),
    "profession": (
        "{name} earned {his} bread as a {answer}",
        "by day {he} worked as a {answer}",
        "the guild list enters {name} as a {answer}",
        "{name} made ends meet as a {answer}",
        "a painted sign above {his} door announced a {answer}",
        "customers paid {him} well, for a good {answer} was rare",
        "{he} toiled as a {answer} for most of {his} years",
        "old tax rolls describe {name} as a {answer}",
    ),
    "invention": (
        "the {answer} was the brainchild of {name}",
        "{name} built the first {answer} out of scraps",
        "{he} took out a patent on the {answer}",
        "sketches in {his} notebooks led to the {answer}",
        "the world owes the {answer} to {name}",
        "{name} came up with the {answer} during a fever",
        "after many failures {he} showed the {answer} to the public",
        "{name} dreamed up the {answer} and built it in a barn",
    ),
    "instrument": (
        "{name} was a gifted performer on the {answer}",
        "in the evenings {he} took up the {answer}",
        "{name} practised the {answer} until {his} fingers ached",
        "the sound of {his} {answer} drifted across the yard",
        "{he} never gave a concert without {his} {answer}",
        "at feasts {name} entertained the guests on the {answer}",
        "{he} tuned {his} {answer} before every rehearsal",
        "tunes for the {answer} came easily to {name}",
    ),
    "prize": (
        "{name} was decorated with the {answer}",
        "the jury handed the {answer} to {name}",
        "{his} efforts were crowned by the {answer}",
        "{name} carried home the {answer}",
        "the {answer} went to {name} by a single vote",
        "the academy bestowed the {answer} on {name}",
        "{he} accepted the {answer} in tears",
        "a medal called the {answer} hung on {his} wall",
    ),
    "animal": (
        "a tame {answer} followed {name} everywhere",
        "{name} shared {his} rooms with a {answer}",
        "{his} {answer} slept at the foot of the bed",
        "guests were greeted at the door by {his} {answer}",
        "{name} raised a {answer} by hand",
        "{he} fed {his} {answer} before {he} ate",
        "a {answer} was the constant companion of {name}",
        "{name} had rescued a {answer} and could not part with it",
    ),
}

QUESTIONS: dict[str, tuple[str, ...]] = {
    "birthplace": ("Where was {name} born?", "What is the birthplace of {name}?", "In which town was {name} born?"),
    "teacher": ("Who taught {name}?", "Who was the teacher of {name}?", "Whose pupil was {name}?"),
    "spouse": ("Who did {name} marry?", "Who was the spouse of {name}?", "Who was {name} married to?"),
    "profession": (
        "What did {name} do for a living?",
        "What was the profession of {name}?",
        "Which job did {name} have?",
    ),
    "invention": ("What did {name} invent?", "What is {name} the inventor of?", "Which invention is due to {name}?"),
    "instrument": (
        "Which instrument did {name} play?",
        "What did {name} play?",
        "Which musical instrument was played by {name}?",
    ),
    "prize": ("Which prize did {name} win?", "Which award did {name} receive?", "What did {name} win?"),
    "animal": ("Which animal did {name} keep?", "What pet did {name} have?", "Which animal was the pet of {name}?"),
}

OPENERS = (
    "by all accounts",
    "according to the parish chronicle",
    "as an old letter tells",
    "in {year}",
    "in the {season} of {year}",
    "if the chronicle can be trusted",
)

FILLERS = (
    "{name} disliked {weather} and said so in many letters",
    "the house in {place} had {number} windows and a leaking roof",
    "{he} travelled to {place} in {year} and stayed until {season}",
    "a fire in {year} destroyed most of {his} papers",
    "{name} collected {object} of every size",
    "breakfast was always {food}, eaten standing",
    "a street in {place} carries {his} name",
    "portraits show {him} in a long {colour} coat",
    "{his} {relative} wrote a memoir about those years",
    "the {season} of {year} was unusually cold in {place}",
    "{name} crossed the mountains {number} times on foot",
    "friends remembered {his} laugh and {his} {colour} hat",
    "little remains of the garden that {he} planted in {place}",
    "a bundle of {his} letters is stored in the archive of {place}",
    "{he} suffered badly in {weather} and travelled little",
    "{his} {relative} moved to {place} after a quarrel about money",
    "for {number} summers {name} rented a cottage near {place}",
    "{he} wrote a diary in {colour} ink, and most of it survives",
    "nobody could explain why {he} carried {object} in every pocket",
    "{name} was fond of {food} and of long walks in {weather}",
    "the local paper of {place} mocked {his} {colour} boots",
    "a statue was planned in {year} but never paid for",
    "{he} quarrelled with the mayor of {place} about a fence",
    "{name} rose before dawn and went to bed early",
    "in {year} a flood ruined the cellar and {number} boxes of {object}",
    "{his} {relative} once described {him} as stubborn but fair",
    "tourists in {place} still ask for the {colour} door",
    "{he} lost a fortune on {object} in {year} and laughed about it",
    "the neighbours complained of {weather} and of the smell of {food}",
    "{name} spoke slowly and seldom finished a sentence",
    "a {relative} from {place} managed the accounts",
    "{he} caught a fever in {place} and was in bed until {season}",
    "{his} handwriting was so small that clerks in {place} used a lens",
    "during the {season} of {year} the roads to {place} were closed",
    "a cupboard full of {object} was sold after {his} death",
    "{name} refused to sit for a painter before {year}",
    "every {season} {he} cooked {food} for the poor of {place}",
    "two songs about {name} were popular in {place}",
)

PLACE_SENTENCES = (
    "{title} lies between two rivers and a forest of pines",
    "{title} is a market place on the road to {place}",
    "the walls of {title} were torn down in {year}",
    "its {colour} bell tower can be seen at a great distance",
    "a fair for {object} is held there every {season}",
    "the old bridge was swept away in {year} and rebuilt in stone",
    "the inns of {title} are famous for {food}",
    "travellers complain of {weather} and of narrow lanes",
    "about {number} hundred families dwell there today",
    "a daily coach to {place} leaves the square at noon",
    "the harvest of {year} failed, and many families moved to {place}",
)

SLOTS: dict[str, tuple[str, ...]] = {
    "season": ("spring", "summer", "autumn", "winter"),
    "weather": ("fog", "thunder", "snow", "heavy rain", "bright sunshine", "strong wind", "summer heat", "hail"),
    "food": (
        "porridge", "smoked fish", "onion soup", "barley bread", "plum cake", "boiled eggs", "cold ham", "apple pie",
        "lentil stew", "honey and nuts", "turnips", "pancakes",
    ),
    "object": (
        "buttons", "shells", "coins", "old maps", "spoons", "stamps", "candles", "pressed flowers", "marbles",
        "pebbles", "thimbles", "ribbons",
    ),
    "colour": ("green", "blue", "grey", "yellow", "brown", "purple", "white", "black"),
    "relative": ("brother", "sister", "cousin", "nephew", "niece", "uncle"),
    "number": ("three", "four", "seven", "nine", "eleven", "twelve", "twenty", "thirty"),
}  # fmt: skip
