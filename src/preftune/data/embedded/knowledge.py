"""What everybody knows, as tables: relations from a subject to its answer, categories, little stories."""

RELATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "use": (
        "To {}, you need",
        {
            "cut paper": "scissors", "open a locked door": "a key", "write a letter": "a pen",
            "sweep the floor": "a broom",
            "eat soup": "a spoon", "dig a hole": "a shovel", "hit a nail": "a hammer",
            "see far stars": "a telescope",
            "tell the time": "a clock", "wash your hands": "soap", "boil water": "a kettle",
            "sleep well": "a bed",
            "catch fish": "a net", "comb your hair": "a comb", "take a photo": "a camera",
            "saw wood": "a saw",
        },
    ),
    "source": (
        "We get {} from",
        {
            "milk": "cows", "wool": "sheep", "eggs": "hens", "honey": "bees", "wood": "trees",
            "light by day": "the sun",
            "flour": "wheat", "wine": "grapes", "rain": "clouds", "salt": "the sea", "bacon": "pigs",
            "silk": "worms",
        },
    ),
    "place": (
        "The best place to {} is a",
        {
            "see a doctor": "hospital", "borrow books": "library", "catch a train": "station", "swim": "pool",
            "watch a film": "cinema", "buy bread": "bakery", "learn to read": "school",
            "see wild animals": "zoo",
            "keep money": "bank", "pray": "church", "board a plane": "airport", "grow flowers": "garden",
        },
    ),
    "sense": (
        "We {} with our",
        {"see": "eyes", "hear": "ears", "smell": "nose", "chew": "teeth", "walk": "feet", "think": "brain",
         "taste": "tongue",
         "breathe": "lungs", "touch": "fingers"},
    ),
}  # fmt: skip

SCIENCE: dict[str, tuple[str, dict[str, str]]] = {
    "opposite": (
        "What is the opposite of {}?",
        {
            "hot": "cold", "big": "small", "up": "down", "day": "night", "wet": "dry", "fast": "slow",
            "old": "new",
            "happy": "sad", "open": "closed", "hard": "soft", "full": "empty", "rich": "poor",
            "early": "late",
            "light": "dark", "strong": "weak", "clean": "dirty",
        },
    ),
    "young": (
        "What is a young {} called?",
        {"dog": "a puppy", "cat": "a kitten", "cow": "a calf", "horse": "a foal", "sheep": "a lamb",
         "duck": "a duckling",
         "bear": "a cub", "frog": "a tadpole", "pig": "a piglet", "hen": "a chick"},
    ),
    "after": (
        "Which number comes just after {}?",
        {"one": "two", "two": "three", "three": "four", "four": "five", "five": "six", "six": "seven",
         "seven": "eight",
         "eight": "nine", "nine": "ten", "ten": "eleven", "eleven": "twelve"},
    ),
    "colour": (
        "What colour is {}?",
        {"grass": "green", "snow": "white", "coal": "black", "blood": "red", "a lemon": "yellow",
         "the clear sky": "blue",
         "chocolate": "brown", "a carrot": "orange", "a flamingo": "pink", "a rain cloud": "grey"},
    ),
    "made": (
        "What is {} made of?",
        {"a window": "glass", "a book": "paper", "a tyre": "rubber", "a knife": "metal",
         "a brick wall": "clay",
         "a jumper": "wool", "a snowman": "snow", "a beach": "sand", "a table": "wood", "a candle": "wax"},
    ),
}  # fmt: skip

CAPITALS: dict[str, str] = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "England": "London",
    "Japan": "Tokyo",
    "China": "Beijing", "Russia": "Moscow", "Greece": "Athens", "Egypt": "Cairo", "Ireland": "Dublin",
    "Austria": "Vienna", "Portugal": "Lisbon", "Norway": "Oslo", "Cuba": "Havana", "India": "New Delhi",
}  # fmt: skip

CATEGORIES: dict[str, tuple[str, ...]] = {
    "a fruit": ("apple", "banana", "pear", "grape", "cherry", "lemon", "peach", "plum"),
    "an animal": ("lion", "horse", "rabbit", "tiger", "wolf", "monkey", "goat", "bear"),
    "a colour": ("red", "blue", "green", "yellow", "purple", "pink", "brown", "grey"),
    "a tool": ("hammer", "saw", "drill", "shovel", "axe", "rake", "wrench", "knife"),
    "a piece of clothing": ("shirt", "hat", "coat", "sock", "glove", "skirt", "scarf", "dress"),
    "a part of the body": ("hand", "knee", "nose", "foot", "elbow", "ear", "finger", "neck"),
    "a vehicle": ("car", "bus", "train", "truck", "bicycle", "plane", "boat", "tram"),
    "a drink": ("milk", "tea", "coffee", "juice", "water", "beer", "wine", "lemonade"),
    "a number": ("two", "seven", "nine", "five", "twelve", "eleven", "six", "forty"),
    "a day of the week": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "a piece of furniture": ("chair", "table", "sofa", "bed", "desk", "shelf", "stool", "bench"),
}

STORIES: dict[str, str] = {
    "{p} is very hungry. {p} goes to the kitchen and": "makes a sandwich.",
    "{p} is cold outside. {p} stops and": "puts on a warm coat.",
    "It is late and {p} is tired. {p} goes upstairs and": "falls asleep in bed.",
    "{p} has dirty hands. {p} goes to the sink and": "washes with soap.",
    "The phone rings. {p} picks it up and": "says hello.",
    "{p} wants to send a letter. {p} goes to the post office and": "buys a stamp.",
    "{p} broke a tooth. {p} calls and": "asks to see the dentist.",
    "The car has no fuel. {p} drives in and": "fills the tank.",
    "{p} is at the pool. {p} jumps in and": "swims to the other side.",
    "The room is dark. {p} comes in and": "turns on the light.",
    "It starts to rain. {p} is in the street and": "opens an umbrella.",
    "{p} lost the house key. {p} stands outside and": "knocks on the door.",
    "{p} wants to read. {p} goes to the shelf and": "takes a book.",
    "The baby is crying. {p} hurries over and": "rocks the child gently.",
    "{p} has a birthday. {p} looks at the cake and": "blows out the candles.",
    "The dog wants to go out. {p} takes the lead and": "walks it in the park.",
    "The plants are dry. {p} takes a can and": "waters them.",
    "{p} wants to hear music. {p} sits down and": "plays a song.",
    "The soup has no taste. {p} takes a spoon and": "adds some salt.",
    "{p} has an exam tomorrow. {p} stays in and": "studies all evening.",
    "The train is coming. {p} waits for the doors and": "gets on board.",
    "{p} scored a goal. {p} runs to the team and": "cheers loudly.",
    "{p} is ill with a fever. {p} stays home and": "takes some medicine.",
    "The floor is full of dust. {p} takes a broom and": "sweeps it.",
    "{p} wants to paint. {p} takes a brush and": "dips it in colour.",
    "{p} is fishing. {p} feels a pull and": "lifts out a fish.",
    "{p} is at the market. {p} looks at the apples and": "pays for a kilo.",
    "The show is over. {p} loved it and": "claps for a long time.",
}

WANTS: dict[str, str] = {
    "tired": "went to bed", "hungry": "ate lunch", "thirsty": "drank some water", "cold": "put on a coat",
    "ill": "saw a doctor", "dirty": "took a bath", "lost": "asked for the way", "late": "ran to work",
    "hot": "opened a window", "bored": "played a game", "sad": "cried", "happy": "smiled",
}  # fmt: skip

SOLUTIONS: dict[str, str] = {
    "cut a sheet of paper": "Use a pair of scissors.", "dry wet hair": "Use a towel.",
    "keep milk fresh": "Put it in the fridge.",
    "make ice": "Freeze some water.", "clean your teeth": "Use a toothbrush.",
    "stay dry in the rain": "Hold an umbrella.",
    "light a dark room": "Switch on a lamp.", "fix a nail in a wall": "Hit it with a hammer.",
    "boil an egg": "Heat it in hot water.",
    "get ink off paper": "Use an eraser.", "warm up a room": "Turn on the heater.",
    "cool down a room": "Turn on a fan.",
    "send a letter": "Put a stamp on it.", "mop up spilled water": "Wipe it with a cloth.",
    "slice bread": "Use a sharp knife.",
    "keep your feet warm": "Wear thick socks.", "wake up on time": "Set an alarm.",
    "find a word's meaning": "Look in a dictionary.",
    "carry shopping home": "Put it in a bag.", "measure a table": "Use a tape.",
    "grow a flower": "Plant a seed.",
    "stick two papers together": "Use some glue.", "see small print": "Use a magnifying glass.",
    "fly to another country": "Take a plane.",
    "cross a wide river": "Take a boat.", "put out a fire": "Spray it with water.",
    "make toast": "Put bread in the toaster.",
    "lock a bike": "Use a chain.",
}  # fmt: skip

# Categories whose members are things that one can see or own, with an article.
THINGS: tuple[str, ...] = (
    "a fruit", "an animal", "a tool", "a piece of clothing", "a vehicle", "a piece of furniture",
)  # fmt: skip

# Words of one line mean the same of a person.
MEANINGS: tuple[tuple[str, ...], ...] = (
    ("happy", "glad", "cheerful"), ("sad", "unhappy", "miserable"), ("angry", "furious", "mad"),
    ("scared", "afraid", "frightened"), ("tired", "sleepy", "exhausted"), ("sick", "ill", "unwell"),
    ("clever", "smart", "intelligent"), ("silent", "quiet", "speechless"), ("rich", "wealthy", "well-off"),
    ("strange", "odd", "weird"), ("brave", "fearless", "courageous"), ("polite", "courteous", "well-mannered"),
)  # fmt: skip

# Two ways of naming one aim, without a common word.
AIMS: tuple[tuple[str, str], ...] = (
    ("lose weight", "become thinner"), ("earn money", "be rich"), ("fall asleep", "get to bed"),
    ("find jobs", "look for work"), ("stop smoking", "quit cigarettes"), ("train dogs", "teach puppies"),
    ("fix cars", "repair engines"), ("buy houses", "purchase homes"), ("visit Paris", "travel to France"),
    ("grow roses", "plant flowers"), ("write novels", "become an author"), ("cook", "prepare meals"),
    ("heal colds", "recover from flu"), ("jog", "start running"), ("sing", "improve my voice"),
    ("save energy", "use less power"), ("speak English", "learn languages"), ("catch fish", "go angling"),
)  # fmt: skip

# Questions and answers of one sort each; no answer repeats a word of its question.
ANSWERS: dict[str, tuple[str, ...]] = {
    "When did {p} leave?": ("on Monday", "at noon", "at midnight", "on Sunday", "in May", "in July"),
    "Where did {p} sleep?": ("in the kitchen", "in the garden", "in a hotel", "in the office", "in a barn"),
    "How much did {p} pay?": ("ten dollars", "two pounds", "five euros", "sixty cents", "nine dollars"),
    "What colour did {p} choose?": ("red", "blue", "green", "yellow", "black", "white", "brown"),
    "Which animal did {p} see?": ("a lion", "a horse", "a rabbit", "a wolf", "a monkey", "a goat", "a bear"),
    "Which game did {p} play?": ("football", "tennis", "chess", "golf", "hockey", "poker", "rugby"),
    "What drink did {p} order?": ("milk", "tea", "coffee", "juice", "water", "beer", "wine"),
    "Which language does {p} speak?": ("French", "German", "Spanish", "Russian", "Greek", "Italian"),
}  # fmt: skip
